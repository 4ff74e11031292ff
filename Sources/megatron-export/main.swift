import Foundation
import Launcher
import Support

exit(Programs.export(body: ProgramBodies.export).rawValue)
