import Foundation
import Launcher
import Support

exit(Programs.bench(body: ProgramBodies.bench).rawValue)
