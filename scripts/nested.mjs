// `npm run test:nested [-- backend…] [--host] [--bench]`: sets up, then runs `scripts/nested/main.ts`.
import { join } from "node:path"
import { localEnvironment, main, root, run } from "./lib.mjs"
import { setup } from "./setup.mjs"

main(() => {
  setup({ test: true, log: (line) => process.stderr.write(`${line}\n`) })
  return run("node", [join(root, "scripts", "nested", "main.ts"), ...process.argv.slice(2)], {
    env: localEnvironment()
  })
})
