// `npm run test:nested [-- backend…] [--only NAME] [--bench]`: sets up, then boots a guest that has KVM, and runs the backend suite in it.
import { join } from "node:path"
import { localEnvironment, main, root, run } from "./lib.mjs"
import { setup } from "./setup.mjs"

main(() => {
  setup({ test: true, log: (line) => process.stderr.write(`${line}\n`) })
  return run("node", [join(root, "scripts", "nested", "main.ts"), ...process.argv.slice(2)], {
    env: localEnvironment()
  })
})
