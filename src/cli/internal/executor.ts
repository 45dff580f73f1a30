/** How to start the process that runs the test files of a worker. */
import * as NodePath from "node:path"
import { fileURLToPath } from "node:url"
import type * as Worker from "../../fleet/Worker.ts"

const here = fileURLToPath(import.meta.url)

/** Scripts need not know where the fleet's database is. */
export const executor: Worker.Command = {
  command: process.execPath,
  args: [NodePath.resolve(here, "..", "..", `FleetExecutor${NodePath.extname(here)}`)],
  env: { VMTEST_FLEET_URL: undefined }
}
