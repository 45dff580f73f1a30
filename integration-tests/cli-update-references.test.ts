import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, describe, it } from "@effect/vitest"

const launcher = fileURLToPath(new URL("../src/cli/Launcher.ts", import.meta.url))
const place = mkdtempSync(join(tmpdir(), "vmtest-update-"))
afterAll(() => rmSync(place, { recursive: true, force: true }))

const script = `import { Effect } from "effect"
import { Image, test } from "vmtest"
export default test("panel", { machines: { box: { image: Image.tiny(), memory: "256 MiB" } } }, ({ box }) => Effect.gen(function* () {
  yield* box.succeed("printf '\\\\033c\\\\033[?25lpanel' > /dev/tty1")
  yield* box.expectScreenshot("references/panel.png", { timeout: "5 seconds" })
}))
`

const run = (...flags: Array<string>) =>
  spawnSync(process.execPath, [launcher, "run", ...flags, "panel.ts"], { cwd: place, encoding: "utf8" })

describe("vmtest run", () => {
  it("fails for a missing reference, writes it when told, and then compares with it", () => {
    writeFileSync(join(place, "panel.ts"), script)
    const missing = run()
    assert.strictEqual(missing.status, 1)
    assert.include(missing.stdout, "vmtest run --update-references writes it")
    const written = run("--update-references")
    assert.strictEqual(written.status, 0, written.stdout + written.stderr)
    assert.isTrue(existsSync(join(place, "references", "panel.png")))
    const compared = run()
    assert.strictEqual(compared.status, 0, compared.stdout + compared.stderr)
  })
})
