/** How long the command takes to answer before it does any work, against a Node that does nothing. */
import { fileURLToPath } from "node:url"
import { alternate, report, wallTime } from "./harness.ts"

const vmtest = fileURLToPath(new URL("../bin/vmtest.js", import.meta.url))
const node = process.execPath

const version = alternate(
  15,
  () => wallTime(node, [vmtest, "--version"]),
  () => wallTime(node, ["-e", "0"])
)
const help = alternate(
  9,
  () => wallTime(node, [vmtest, "run", "--help"]),
  () => wallTime(node, ["-e", "0"])
)

report("start", [
  { case: "vmtest --version, against node -e 0", ...version, unit: "ms", goal: { of: "ratio", atMost: 3 } },
  { case: "vmtest run --help, against node -e 0", ...help, unit: "ms" }
])
