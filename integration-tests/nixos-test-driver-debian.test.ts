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

const guest = image({ packages: ["nginx-light", "curl"] })

/** The start scripts of machines, as the configuration names them. */
const machines = Effect.fnUntraced(function* (all: ReadonlyArray<ScriptOptions>, of = guest) {
  const boot = yield* (yield* ImageStore).resolve(of)
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

/** sshd on vsock, as systemd-ssh-generator(8) has it in guests of NixOS, with the rights that their backdoor gives. */
const sshGuest = image({
  packages: ["openssh-server", "socat", "openssh-client"],
  files: { "/etc/modules-load.d/vsock.conf": "vmw_vsock_virtio_transport\nvsock_loopback\n" },
  units: {
    "sshd-vsock.socket": "[Socket]\nListenStream=vsock::22\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
    "sshd-vsock@.service": {
      text: "[Service]\nExecStart=-/usr/sbin/sshd -i -o PermitRootLogin=yes -o PermitEmptyPasswords=yes\nStandardInput=socket\n",
      enabled: false
    }
  }
})

/** What people do with the printed command: the script is one of them. */
const ssh = `
import hashlib
import os
import subprocess

start_all()
server.wait_for_unit("sshd-vsock.socket")
command = server.ssh_backdoor_command(1)
# systemd-ssh-proxy leaves the host's key to the user.
trusting = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"

def run(words, remote, command=command, **more):
    return subprocess.run(f"{command} {trusting} {words} '{remote}'", shell=True, capture_output=True, timeout=300, **more)

with subtest("a command, its output and its exit code"):
    done = run("-o BatchMode=yes", "hostname; id -un; echo wrong >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, b"server\\nroot\\n"), done
    assert b"wrong" in done.stderr

with subtest("a megabyte each way"):
    sent = os.urandom(1_000_000)
    done = run("", "tee /root/received", input=sent)
    assert done.returncode == 0 and done.stdout == sent, (done.returncode, len(done.stdout), done.stderr)
    assert server.succeed("sha256sum </root/received").split()[0] == hashlib.sha256(sent).hexdigest()

with subtest("a terminal"):
    done = run("-tt", "tty; stty size; exit", stdin=subprocess.DEVNULL)
    assert b"/dev/pts/" in done.stdout, done

with subtest("each machine has its own"):
    done = run("", "hostname", client.ssh_backdoor_command(1))
    assert done.stdout == b"client\\n", done

with subtest("where nobody listens, ssh tells it"):
    done = run("-p 2222", "true")
    assert done.returncode == 255 and done.stderr != b"", done
    print(f"nobody listens: {done.stderr.decode()}")

with subtest("by a number, with socat in the place of systemd-ssh-proxy"):
    way = "ssh -o User=root -o ProxyCommand='socat - VSOCK-CONNECT:1:%p' vsock/1"
    assert server.succeed(f"{way} {trusting} hostname").strip() == "server"
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
      needs(has("ssh"), "ssh is not installed: apt-get install openssh-client")
      it.effect(
        "lets ssh in over vsock, by the command that it prints",
        () =>
          Effect.gen(function* () {
            // As the modules of NixOS share the guest's memory.
            const words = "-object memory-backend-memfd,id=ram,size=384M,share=on -machine memory-backend=ram"
            const vms = yield* machines(
              [
                { name: "client", address: "192.168.1.1", words },
                { name: "server", address: "192.168.1.2", words }
              ],
              sshGuest
            )
            const { status, stderr, stdout } = run(
              configured({ script: ssh, vms, vlans: [1], global_timeout: 1200, enable_ssh_backdoor: true })
            )
            assert.strictEqual(status, 0, `${stderr}${stdout}`)
            assert.match(stderr, /^nixos-test-driver: SSH backdoors:\n {4}client: {2}ssh -.*\n {4}server: {2}ssh -/m)
            yield* Effect.promise(() => nothingLeft())
          }),
        1_500_000
      )
    })
  }
)
