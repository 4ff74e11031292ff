import Foundation
import Launcher
import Support

exit(Dispatcher.main().rawValue)
