/** How to start the process that runs the test files of a worker. */
import type * as Worker from "../../fleet/Worker.ts"
import * as OwnFiles from "../../host/OwnFiles.ts"

/** Scripts need not know where the fleet's database is. */
export const executor: Worker.Command = {
  command: process.execPath,
  args: [OwnFiles.module("cli/FleetExecutor")],
  env: { VMTEST_FLEET_URL: undefined }
}
