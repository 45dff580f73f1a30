/** A host whose file system fills up while a guest writes to its disk: QEMU stops the guest then, and would wait for ever. */
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, it } from "@effect/vitest"

const launcher = fileURLToPath(new URL("../src/cli/Launcher.ts", import.meta.url))

const script = `import { Image, test } from "vmtest"
const box = { image: Image.tiny(), disks: ["200 MiB"] }
export default test("fills its disk", { machines: { box } }, ({ box }) => box.succeed("dd if=/dev/urandom of=/dev/vda bs=1M count=100"))
`

it("ends the machine, and says that the host could not write its disk", ({ onTestFinished, skip }) => {
  const place = mkdtempSync(join(tmpdir(), "vmtest-full-"))
  const small = join(place, "small")
  mkdirSync(small)
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", small], { encoding: "utf8" })
  onTestFinished(() => {
    if (mounted.status === 0) spawnSync("umount", [small])
    rmSync(place, { recursive: true, force: true })
  })
  skip(mounted.status !== 0, "a full disk needs the right to mount one")
  writeFileSync(join(place, "full.ts"), script)
  const ran = spawnSync(process.execPath, [launcher, "run", "full.ts"], {
    cwd: place,
    env: { ...process.env, XDG_RUNTIME_DIR: small, NO_COLOR: "1" },
    encoding: "utf8"
  })
  assert.match(ran.stdout, /MachineDied: box died while .*: the host could not write the machine's disk/)
  assert.strictEqual(ran.status, 1)
})
