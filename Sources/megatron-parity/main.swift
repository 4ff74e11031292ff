import Foundation
import Launcher

exit(ParityEntry.main().rawValue)
