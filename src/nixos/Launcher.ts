/**
 * What `bin/nixos-test-driver.js` starts; the build bundles it into `dist/nixos/nixos-test-driver.js`.
 *
 * **Example** (What a test of NixOS runs)
 *
 * ```sh
 * nixos-test-driver --config driverConfiguration.json -o "$out"
 * ```
 *
 * @since 0.1.0
 */

import { launch } from "../cli/Launch.ts"
import * as OwnFiles from "../host/OwnFiles.ts"
import * as CommandLine from "./CommandLine.ts"

launch(
  "nixos-test-driver",
  CommandLine.parse(process.argv.slice(2), process.env, OwnFiles.version),
  () => import("./Main.ts")
)
