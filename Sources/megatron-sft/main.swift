import Foundation
import Launcher
import Support

exit(Programs.sft(body: ProgramBodies.sft).rawValue)
