/**
 * What `bin/vmtest.js` starts; the build bundles it into `dist/cli/vmtest.js`.
 *
 * **Example** (What `npx vmtest --help` runs)
 *
 * ```sh
 * node node_modules/vmtest/bin/vmtest.js --help
 * ```
 *
 * @since 0.1.0
 */
import * as CommandLine from "./CommandLine.ts"
import { launch } from "./Launch.ts"

launch("vmtest", CommandLine.parse(process.argv.slice(2)), () => import("./Main.ts"))
