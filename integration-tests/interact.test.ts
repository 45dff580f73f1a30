import { execFileSync, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { needs } from "../test/needs.ts"

const launcher = fileURLToPath(new URL("../src/cli/Launcher.ts", import.meta.url))
const hasTmux = spawnSync("tmux", ["-V"]).status === 0

const program = `const deb = yield* driver.machine("deb", { image: Image.debian(), memory: "512 MiB", vlans: [] })
yield* deb.start()
yield* deb.shellInteract()
yield* deb.shellInteract()
yield* Effect.forkChild(deb.succeed("IFS= read -r line < /dev/ttyS0; echo the guest read: $line > /dev/console"))
yield* deb.consoleInteract()
return "the end of it"
`

describe("a person at a terminal, with a Debian guest, has", () => {
  needs(hasTmux, "tmux is not installed (Debian: tmux)")
  let place = ""
  const tmux = (...args: ReadonlyArray<string>) =>
    execFileSync("tmux", ["-S", join(place, "tmux"), "-f", "/dev/null", ...args], { encoding: "utf8" })
  const screen = () => tmux("capture-pane", "-p", "-S", "-200")
  const type = (...keys: ReadonlyArray<string>) => void tmux("send-keys", ...keys)
  /** Waits until the screen shows something. */
  const shows = async (what: RegExp, seconds = 60) => {
    const until = performance.now() + seconds * 1000
    while (!what.test(screen())) {
      assert.isBelow(performance.now(), until, `${what} on:\n${screen()}`)
      await sleep(200)
    }
  }

  beforeAll(() => {
    if (!hasTmux) return
    place = mkdtempSync(join(tmpdir(), "vmtest-tty-"))
    writeFileSync(join(place, "program.ts"), program)
    tmux("new-session", "-d", "-x", "100", "-y", "40", "sh")
    type("-l", `cd ${place}; stty -a | grep -o ' -*icanon' | sed s/^/before:/`)
    type("Enter")
    type("-l", `${process.execPath} --disable-warning=ExperimentalWarning ${launcher} eval-file program.ts`)
    type("Enter")
  })
  afterAll(() => {
    if (place === "") return
    spawnSync("tmux", ["-S", join(place, "tmux"), "kill-server"])
    rmSync(place, { recursive: true, force: true })
  })

  it("a root shell with a terminal of its own", async () => {
    await shows(/before: icanon/)
    await shows(/a root shell; Ctrl-\] leaves\s+root@deb:/, 240)
    type("-l", "echo it is $(tty) of $(stty size), $(id -un)")
    type("Enter")
    await shows(/it is \/dev\/pts\/\d+ of 40 100, root/)
    // Ctrl-C is the guest's: it ends what runs in the shell, and neither the shell nor the test.
    type("-l", "echo sleeping; sleep 600")
    type("Enter")
    await shows(/^sleeping/m)
    type("C-c")
    tmux("resize-window", "-x", "90", "-y", "30")
    await shows(/\^C/)
    await sleep(2000)
    type("-l", "echo now $(stty size)")
    type("Enter")
    await shows(/now 30 90/)
    type("C-]")
    await shows(/deb: left/)
  })

  it("a shell that ends by itself", async () => {
    await shows(/left\s[\s\S]*a root shell; Ctrl-\] leaves\s+root@deb:/)
    type("-l", "exit")
    type("Enter")
    await shows(/left[\s\S]*left/)
  })

  it("the serial console", async () => {
    await shows(/its console; Ctrl-\] leaves/)
    type("-l", "hello, console")
    type("Enter")
    await shows(/the guest read: hello, console/)
    type("C-]")
    await shows(/the end of it/)
  })

  it("the terminal as it was", async () => {
    type("-l", "stty -a | grep -o ' -*icanon' | sed s/^/after:/")
    type("Enter")
    await shows(/after: icanon/)
  })
})
