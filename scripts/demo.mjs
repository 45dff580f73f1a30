// `npm run demo`: set-up, then the main job: two real guests, one serving a page to the other.
import { join } from "node:path"
import { localEnvironment, main, run } from "./lib.mjs"
import { setup } from "./setup.mjs"

main(() => {
  setup({ test: false, log: (line) => process.stdout.write(`${line}\n`) })
  const args = [join("bin", "vmtest.js"), "run", join("examples", "nginx.ts"), ...process.argv.slice(2)]
  process.stdout.write(`demo: vmtest ${args.slice(1).join(" ")}\n`)
  return run("node", args, { env: localEnvironment() })
})
