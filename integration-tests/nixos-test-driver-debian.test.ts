/** `nixos-test-driver` on Debian guests with the backdoor unit of NixOS tests: a test in the manner of those of nixpkgs, and SSH's way in. */
import { readFileSync } from "node:fs"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { ImageStore } from "../src/images/ImageStore.ts"
import { needs } from "../test/needs.ts"
import { place } from "../test/nixos/support.ts"
import { image, type ScriptOptions, scriptOf } from "./nixosScript.ts"
import { has, vsockDevice } from "./transport/reach.ts"

const { configured, nothingLeft, path, read, run, runFolders, write } = place()

const guest = image({ packages: ["nginx-light", "curl", "socat"] })

/** The start scripts of machines, as the configuration names them. */
const machines = Effect.fnUntraced(function* (all: ReadonlyArray<ScriptOptions>) {
  const boot = yield* (yield* ImageStore).resolve(guest)
  return Object.fromEntries(
    all.map((options) => [
      options.name,
      { name: options.name, start_script: write(`run-${options.name}-vm`, scriptOf(boot, options), 0o755) }
    ])
  )
})

const script = `
import subprocess
import threading
from test_driver.errors import RequestedAssertionFailed

start_all()
assert [m.name for m in machines] == ["client", "server"]

with subtest("units and ports"):
    server.wait_for_unit("multi-user.target")
    server.systemctl("start nginx.service")
    server.wait_for_unit("nginx.service")
    server.wait_for_open_port(80)
    assert server.get_unit_property("nginx.service", "SubState") == "running"

with subtest("machines have their names and addresses from their own systems"):
    assert server.succeed("hostname") == "server\\n"
    client.wait_until_succeeds("curl -sf http://192.168.1.2/ >/tmp/page")
    assert "nginx" in client.succeed("cat /tmp/page")

with subtest("cables"):
    server.block()
    client.fail("curl -sf -m 3 http://192.168.1.2/")
    server.unblock()
    client.wait_until_succeeds("curl -sf -m 3 http://192.168.1.2/", timeout=120)

with subtest("threads"):
    said = []
    threads = [threading.Thread(target=lambda m=m: said.append(m.succeed("sleep 1; hostname"))) for m in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["client\\n", "server\\n"]

with subtest("conditions and retries"):
    looks = []

    @polling_condition(seconds_interval=0.5)
    def nginx_runs():
        "nginx runs"
        looks.append(server.succeed("systemctl is-active nginx.service"))

    with nginx_runs:
        client.wait_until_succeeds("test $(cut -d. -f1 /proc/uptime) -gt 1")
        client.sleep(2)
    assert len(looks) >= 2, looks
    tries = []
    retry(lambda last: tries.append(last) or len(tries) == 2, timeout_seconds=10)

with subtest("files"):
    with open(f"{driver.out_dir}/made", "w") as file:
        file.write("made on the host\\n")
    client.copy_from_host(f"{driver.out_dir}/made", "/root/made")
    client.succeed("sed -i s/made/changed/ /root/made")
    client.copy_from_machine("/root/made", "back")
    assert subprocess.check_output(["cat", f"{driver.out_dir}/back/made"], text=True) == "changed on the host\\n"

with subtest("the console, the screen and a reboot"):
    client.succeed("echo a line on the console >/dev/console")
    client.wait_for_console_text("a line on the console", timeout=60)
    client.screenshot("client")
    client.shutdown()
    client.start(allow_reboot=True)
    boot = client.succeed("cat /proc/sys/kernel/random/boot_id")
    client.reboot()
    assert client.succeed("cat /proc/sys/kernel/random/boot_id") != boot

with subtest("a machine that the script makes"):
    os.environ["NIX_DISK_IMAGE"] = f"{client.state_dir}/third.qcow2"
    third = create_machine(driver.config.vms["client"].start_script, name="third")
    third.start()
    assert third.succeed("hostname") == "client\\n"
    assert os.path.exists(os.environ["NIX_DISK_IMAGE"])
    third.crash()

try:
    server.succeed("exit 7")
except RequestedAssertionFailed as error:
    assert "exit code 7" in str(error)
else:
    raise Exception("it passed")
`

/** Says to the guest's port what is run, and reads its answer, as ssh does behind systemd-ssh-proxy. */
const vsock = `
import socket

server.start()
server.succeed("socat VSOCK-LISTEN:22,fork SYSTEM:hostname >/dev/null 2>&1 &")
pair = driver.vhost_vsock.sockets["server"]

def answers(_):
    with socket.socket(socket.AF_UNIX) as way:
        way.settimeout(60)
        way.connect(str(pair.host))
        way.sendall(b"CONNECT 22\\n")
        lines = way.makefile("r")
        # Nothing before the guest listens.
        return lines.readline().startswith("OK ") and lines.readline() == "server\\n"

retry(answers, timeout_seconds=120)
`

layer(Layer.provide(ImageStore.layer, NodeServices.layer), { excludeTestServices: true, timeout: 900_000 })(
  "nixos-test-driver on Debian",
  (it) => {
    it.effect(
      "runs a test of two machines, with a report and a log",
      () =>
        Effect.gen(function* () {
          const vms = yield* machines([
            { name: "client", address: "192.168.1.1" },
            { name: "server", address: "192.168.1.2" }
          ])
          const args = [...configured({ script, vms, vlans: [1], global_timeout: 1200 }), "--junit-xml", "junit.xml"]
          const { status, stderr, stdout } = run(args, { env: { name: "vm-test-run-nginx" } })
          assert.strictEqual(status, 0, `${stderr}${stdout}`)
          assert.match(stdout, /✔ nginx/)
          const report = readFileSync(path("out", "junit.xml"), "utf8")
          assert.match(report, /<testsuite name="NixOS integration test" tests="9" failures="0"/)
          assert.match(read("log.xml"), /<nest><head>subtest: cables<\/head>/)
          assert.deepStrictEqual(runFolders(), [])
          yield* Effect.promise(() => nothingLeft())
        }),
      1_500_000
    )

    describe("with SSH backdoors", () => {
      needs(has(vsockDevice), `${vsockDevice} is not installed: cargo install ${vsockDevice}`)
      it.effect(
        "lets SSH in over vsock",
        () =>
          Effect.gen(function* () {
            // As the modules of NixOS share the guest's memory.
            const words = "-object memory-backend-memfd,id=ram,size=384M,share=on -machine memory-backend=ram"
            const vms = yield* machines([{ name: "server", address: "192.168.1.2", words }])
            const { status, stderr, stdout } = run(
              configured({ script: vsock, vms, vlans: [1], global_timeout: 600, enable_ssh_backdoor: true })
            )
            assert.strictEqual(status, 0, `${stderr}${stdout}`)
            yield* Effect.promise(() => nothingLeft())
          }),
        900_000
      )
    })
  }
)
