/** `nixos-test-driver` on a tiny guest with the backdoor of NixOS tests. The whole of a NixOS test's life is in nixos-test-driver-debian.test.ts. */
import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { ImageStore } from "../src/images/ImageStore.ts"
import { place } from "../test/nixos/support.ts"
import { image, scriptOf } from "./nixosTiny.ts"

const { configured, nothingLeft, path, read, run, runFolders, start, write } = place()

/** The start script of a machine, as the configuration names it. */
const machine = (name: string) =>
  Effect.gen(function* () {
    const boot = yield* (yield* ImageStore).resolve(image())
    return { [name]: { name, start_script: write(`run-${name}-vm`, scriptOf(boot, name), 0o755) } }
  })

layer(Layer.provide(ImageStore.layer, NodeServices.layer), { excludeTestServices: true, timeout: 600_000 })(
  "nixos-test-driver",
  (it) => {
    it.effect("runs a Python script on the machine of a start script, whose state stays for the next run", () =>
      Effect.gen(function* () {
        const vms = yield* machine("web")
        const script = `
import os
assert machine is web and not web.booted
os.environ["QEMU_KERNEL_PARAMS"] = "from.script=1"
start_all()
with subtest("commands"):
    assert web.succeed("echo out; echo err >&2") == "out\\n"
    assert "from.script=1" in web.succeed("cat /proc/cmdline")
    assert web.execute("exit 3") == (3, "")
assert str(web.state_dir) == "${path("run")}/vm-state-web"
assert str(web.shared_dir) == "${path("run")}/shared-xchg" and web.shared_dir.is_dir()
known = web.succeed("head -c 5 /dev/vda").strip("\\0")
print(f"the disk has {known!r}")
web.succeed("printf known >/dev/vda; sync")
web.succeed("echo copied >/tmp/file")
web.copy_from_machine("/tmp/file")
web.screenshot("screen")
serial_stdout_off()
`
        const args = configured({ script, vms, vlans: [1] })
        const first = run([...args, "--junit-xml", "junit.xml"])
        assert.strictEqual(first.status, 0, `${first.stderr}${first.stdout}`)
        assert.include(first.stderr, "the disk has ''")
        assert.include(first.stderr, `web: running "exit 3"`)
        // Its backdoor is a shell of busybox with a terminal.
        assert.notMatch(first.stderr, /\[\d\][+-]? +Done/)
        assert.strictEqual(readFileSync(path("out", "file"), "utf8"), "copied\n")
        assert.isAbove(statSync(path("out", "screen.png")).size, 100)
        assert.match(read("log.xml"), /<line machine="web" type="serial">/)
        assert.match(read("log.xml"), /<nest><head machine="web">running "exit 3"<\/head>/)
        assert.match(readFileSync(path("out", "junit.xml"), "utf8"), /<testcase name="commands" [^>]*>(?!<failure)/)
        assert.isTrue(existsSync(path("run", "vm-state-web", "web.raw")))
        assert.deepStrictEqual(runFolders(), [])
        yield* Effect.promise(() => nothingLeft())

        const kept = run([...args, "-K"])
        assert.strictEqual(kept.status, 0, kept.stderr)
        assert.include(kept.stderr, "the disk has 'known'")
      })
    )

    it.effect(
      "takes blanks in the paths of a start script and of all folders, where the script hands on its arguments",
      () =>
        Effect.gen(function* () {
          for (const name of ["run dir", "a b"]) mkdirSync(path(name), { mode: 0o700 })
          const boot = yield* (yield* ImageStore).resolve(image())
          const script = write("a b/run-web-vm", scriptOf(boot, "web"), 0o755)
          const optionsOnly = scriptOf(boot, "opts").replace('$QEMU_OPTS "$@"', "$QEMU_OPTS")
          const opts = write("a b/run-opts-vm", optionsOnly, 0o755)
          const vms = { web: { start_script: `'${script}'` }, opts: { start_script: `'${opts}'` } }
          const body = `
web.start()
assert web.succeed("ls /sys/class/virtio-ports | wc -l") == "31\\n"
assert str(web.state_dir) == "${path("run dir")}/vm-state-web" and (web.state_dir / "web.raw").exists()
web.crash()
with t.assertRaises(Exception) as raised:
    opts.start()
print(raised.exception)
`
          const env = { XDG_RUNTIME_DIR: path("run dir") }
          const blanks = run(configured({ script: body, vms, vlans: [1], global_timeout: 300 }), { env })
          assert.strictEqual(blanks.status, 0, `${blanks.stderr}${blanks.stdout}`)
          assert.match(blanks.stderr, /the machine's folder "[^"]*run dir[^"]*" has one; set XDG_RUNTIME_DIR/)
          yield* Effect.promise(() => nothingLeft())
        })
    )

    it.effect("reaches a guest over ports that its start script hands on in QEMU_OPTS alone", () =>
      Effect.gen(function* () {
        const boot = yield* (yield* ImageStore).resolve(image())
        const text = scriptOf(boot, "web").replace('$QEMU_OPTS "$@"', "$QEMU_OPTS")
        const vms = { web: { start_script: write("run-web-vm", text, 0o755) } }
        const script = `
assert web.succeed("ls /sys/class/virtio-ports | wc -l") == "31\\n"
assert len(web.succeed("head -c 300000 /dev/zero | tr '\\\\0' x")) == 300000
process = web.process
web.shutdown()
assert process.wait() == 0 and process.poll() == 0
`
        const { status, stderr, stdout } = run(configured({ script, vms, vlans: [1], global_timeout: 300 }))
        assert.strictEqual(status, 0, `${stderr}${stdout}`)
      })
    )

    it.effect("has networks that are hubs: a machine sees what others send to each other", () =>
      Effect.gen(function* () {
        const boot = yield* (yield* ImageStore).resolve(image())
        const names = ["left", "right", "sniffer"]
        const vms = Object.fromEntries(
          names.map((name, index) => {
            const text = scriptOf(boot, name).replace("netdev=vlan1", `netdev=vlan1,mac=52:54:00:12:01:0${index + 1}`)
            return [name, { start_script: write(`run-${name}-vm`, text, 0o755) }]
          })
        )
        const script = `
start_all()
for number, machine in enumerate([left, right, sniffer], 1):
    machine.succeed(f"ip addr add 192.168.1.{number}/24 dev eth1; ip link set eth1 up")
sniffer.succeed("ip link set eth1 promisc on")
left.wait_until_succeeds("ping -c 1 -W 2 192.168.1.2")
left.wait_until_succeeds("ping -c 1 -W 2 192.168.1.3")
def seen():
    return int(sniffer.succeed("cat /sys/class/net/eth1/statistics/rx_packets"))
before = seen()
left.succeed("ping -q -c 50 -i 0.02 192.168.1.2")
assert seen() - before >= 100, f"it saw {seen() - before} packets"
`
        const { status, stderr, stdout } = run(configured({ script, vms, vlans: [1], global_timeout: 300 }))
        assert.strictEqual(status, 0, `${stderr}${stdout}`)
      })
    )

    it.effect("runs a script in TypeScript, with a machine that starts before it", () =>
      Effect.gen(function* () {
        const script = `import { Effect } from "effect"
import type { DriverService, Machine } from "vmtest"
export default ({ web }: Record<"web", Machine>, driver: DriverService) =>
  Effect.gen(function* () {
    // The disk of a fork is not that of its original.
    yield* web.succeed("printf one >/dev/vda; sync")
    const said = yield* driver.fork(({ web }) => web!.succeed("head -c 3 /dev/vda; printf two >/dev/vda; sync"))
    yield* Effect.log(\`the fork says \${said}, the original \${yield* web.succeed("head -c 3 /dev/vda")}\`)
    yield* Effect.log(\`the guest says \${yield* web.succeed("echo hello")}\`)
    yield* web.fail("true")
  })
`
        const args = configured({ script, vms: yield* machine("web"), vlans: [1] })
        const { status, stderr, stdout } = run([...args, "--language", "typescript", "--log-level", "warning"])
        assert.strictEqual(status, 1, stderr)
        assert.include(stderr, "the guest says hello")
        assert.include(stderr, "the fork says one, the original one")
        assert.match(stdout, /script:10:[\s\S]*CommandFailed/)
        assert.strictEqual(readFileSync(path("out", "web", "console.log"), "utf8").length > 0, true)
      })
    )

    it.effect("ends the machines with the script: by the global timeout, by SIGTERM, and by SIGKILL", () =>
      Effect.gen(function* () {
        const vms = yield* machine("web")
        const late = run(
          configured({ script: "web.start()\nweb.wait_for_file('/never')\n", vms, vlans: [1], global_timeout: 3 })
        )
        assert.strictEqual(late.status, 1)
        assert.match(late.stdout, /timed out after 3s/)
        yield* Effect.promise(() => nothingLeft())
        for (const [signal, code] of [
          ["SIGTERM", 130],
          ["SIGKILL", null]
        ] as const) {
          const { child, ended, says } = start(
            configured({ script: "web.start()\nprint('begun')\nweb.connect()\n", vms, vlans: [1] })
          )
          yield* Effect.promise(() => says(/begun/))
          child.kill(signal)
          assert.strictEqual(yield* Effect.promise(() => ended), code)
          yield* Effect.promise(() => nothingLeft())
        }
      })
    )

    it.effect("has a prompt with the machines, which fails with nothing that is said there", () =>
      Effect.gen(function* () {
        const script = "web.succeed('echo from the script')\n"
        const args = configured({ script, vms: yield* machine("web"), vlans: [1] })
        const input =
          "web.booted\nstart_all()\nprint(web.succeed('echo $((40 + 2))'))\nweb.fail('true')\ntest_script()\nweb.crash()\n"
        const { status, stderr, stdout } = run([...args, "--interactive"], { input })
        assert.strictEqual(status, 0, stderr)
        assert.match(stdout, /^False\n42\n/)
        assert.include(stderr, "RequestedAssertionFailed: command `true` unexpectedly succeeded")
        assert.include(stderr, `running "echo from the script"`)
        yield* Effect.promise(() => nothingLeft())
      })
    )
  }
)

describe("a start script that is not one of a machine", () => {
  it("fails the script that starts it, with its words", () => {
    const text = "#!/bin/sh\necho 'a word of its own'\necho 'no such flag' >&2\nexit 7\n"
    const vms = { web: { start_script: write("run-web-vm", text, 0o755) } }
    for (const script of ["start_all()\njoin_all()\n", "web.start()\nweb.wait_for_shutdown()\n"]) {
      const { status, stdout } = run(configured({ script, vms }))
      assert.strictEqual(status, 1)
      assert.match(stdout, /script:1:[\s\S]*BootFailed: web did not boot/)
      assert.match(stdout, /its start script ended with exit code 7[\s\S]*no such flag\s+a word of its own/)
    }
    // A script that expects it goes on.
    const script = "with t.assertRaises(Exception):\n    web.start()\nassert not web.booted\njoin_all()\n"
    assert.strictEqual(run(configured({ script, vms })).status, 0)
  })
})
