/** The tests on real guests that are too long for `npm test`. */
import { spawnSync } from "node:child_process"

process.exitCode = spawnSync("vitest", ["run", "--project", "long"], { stdio: "inherit" }).status ?? 1
