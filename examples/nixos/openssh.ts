/** Keys, passwords and allowed users, between two machines. Ported from NixOS's `openssh` test. */
import assert from "node:assert/strict"
import { Effect } from "effect"
import { Image, test } from "vmtest"

const settings = `
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowUsers root alice courier
Match User courier
  ChrootDirectory /srv/drop
  ForceCommand internal-sftp
`

const image = Image.debian({
  packages: ["openssh-server", "openssh-client", "sshpass"],
  files: {
    "/etc/ssh/sshd_config.d/test.conf": settings,
    // A second server that listens only on the loopback.
    "/etc/ssh/local_config": "Port 2222\nListenAddress 127.0.0.1\nPidFile /run/sshd-local.pid\n",
    "/root/.ssh/config": "Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
  },
  units: {
    "sshd-local.service":
      "[Service]\nType=notify\nRuntimeDirectory=sshd\nRuntimeDirectoryPreserve=yes\nExecStart=/usr/sbin/sshd -D -f /etc/ssh/local_config\n"
  },
  users: { alice: { password: "wonderland" }, bob: {}, courier: { shell: "/usr/sbin/nologin" } },
  setup: "mkdir -p /srv/drop/in && chown courier: /srv/drop/in"
})

const machine = { image, memory: "320 MiB" } as const

export default test(
  "ssh accepts users with a key",
  { machines: { client: machine, server: machine }, timeout: "10 minutes" },
  ({ client, server }, driver) =>
    Effect.gen(function* () {
      yield* driver.waitAll([client, server], (one) => one.waitForUnit("ssh.service"))
      yield* client.waitForOpenPort(22, "server")

      yield* driver.subtest(
        "a password is refused, even the right one",
        Effect.gen(function* () {
          const refused = yield* client.execute("sshpass -p wonderland ssh alice@server true")
          assert.notEqual(refused.exitCode, 0)
          assert.match(refused.stderr, /Permission denied \(publickey\)/)
        })
      )

      const key = yield* client.succeed(
        "ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519",
        "cat ~/.ssh/id_ed25519.pub"
      )
      for (const user of ["root", "alice", "bob", "courier"]) {
        const home = user === "root" ? "/root" : `/home/${user}`
        yield* server.writeFile(`${home}/.ssh/authorized_keys`, key, { mode: "0600" })
        yield* server.succeed(`chown -R ${user}: ${home}/.ssh`)
      }

      yield* driver.subtest(
        "a key is accepted",
        Effect.gen(function* () {
          assert.equal(yield* client.succeed("ssh server hostname", { timeout: "1 minute" }), "server\n")
          assert.equal(yield* client.succeed("ssh alice@server whoami"), "alice\n")
        })
      )

      yield* driver.subtest(
        "exit codes and both outputs come back",
        Effect.gen(function* () {
          const result = yield* client.execute("ssh server 'echo out; echo err >&2; exit 7'")
          assert.deepEqual(result, { exitCode: 7, stdout: "out\n", stderr: "err\n" })
        })
      )

      yield* driver.subtest(
        "the key of a user who is not allowed is refused",
        Effect.gen(function* () {
          yield* client.fail("ssh -o BatchMode=yes bob@server true")
          yield* server.waitUntilSucceeds("journalctl -u ssh -q | grep 'User bob .* not allowed'")
        })
      )

      yield* driver.subtest(
        "an SFTP user can only upload files",
        Effect.gen(function* () {
          yield* client.succeed("echo parcel >parcel", "echo put parcel in/ | sftp -q -b - courier@server")
          yield* server.waitForFile("/srv/drop/in/parcel")
          assert.equal(yield* server.readFile("/srv/drop/in/parcel"), "parcel\n")
          yield* client.fail("ssh courier@server cat /etc/passwd")
        })
      )

      yield* driver.subtest(
        "a server on the loopback cannot be reached from another machine",
        Effect.gen(function* () {
          yield* server.waitForOpenPort(2222, "localhost")
          yield* client.waitForClosedPort(2222, "server")
        })
      )
    })
)
