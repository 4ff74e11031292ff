import Foundation
import Launcher
import Support

exit(Programs.parity(body: ProgramBodies.parity).rawValue)
