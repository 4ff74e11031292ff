import Foundation
import Launcher
import Support

exit(Programs.pt(body: ProgramBodies.pt).rawValue)
