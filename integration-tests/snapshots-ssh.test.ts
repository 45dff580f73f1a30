import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Image from "../src/images/Image.ts"
import type { Machine as Guest } from "../src/machine/Machine.ts"
import { Machine, machines } from "../src/vitest.ts"

class Server extends Machine<Server>()("server", {
  image: Image.debian({ packages: ["openssh-server", "openssh-client"] }),
  memory: "512 MiB"
}) {}

/** The key with which the server itself answers. */
const shown = (machine: Guest) =>
  machine.waitUntilSucceeds("ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null | grep -o 'AAAA.*'", { timeout: "2 minutes" })

machines(Server)("an SSH server", (it) => {
  it.effect("has host keys of its own in a fork that is another machine, and its old ones in any other", () =>
    Effect.gen(function* () {
      const server = yield* Server
      // An emulated guest works for half a minute on a key of RSA.
      yield* server.succeed("rm /etc/ssh/ssh_host_rsa_key* /etc/ssh/ssh_host_ecdsa_key*; systemctl start ssh.service")
      yield* server.waitForOpenPort(22)
      const key = yield* shown(server)
      const snapshot = yield* server.snapshot()
      const other = yield* server.fork({ from: snapshot, name: "other", identity: true })
      const same = yield* server.fork({ from: snapshot })
      const kept = yield* server.fork({ from: snapshot, name: "kept", identity: { sshHostKeys: false } })
      assert.notStrictEqual(yield* shown(other), key)
      assert.include(yield* other.succeed("cat /etc/ssh/ssh_host_ed25519_key.pub"), (yield* shown(other)).trim())
      for (const machine of [server, same, kept]) assert.strictEqual(yield* shown(machine), key)
    })
  )
})
