import Foundation
import Launcher
import Support

exit(Programs.infer(body: ProgramBodies.infer).rawValue)
