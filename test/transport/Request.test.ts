/** What is sent for a command. */
import { spawnSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Request from "../../src/transport/internal/request.ts"

describe("a command as another user", () => {
  it.effect("runs in the guest's own shell where su changes the user, whatever /bin/sh is", () =>
    Effect.gen(function* () {
      const request = yield* Request.make({
        machine: "vm",
        guest: { folder: "/run/vmtest", shell: "bash", pipefail: true },
        command: 'echo "it\'s $BASH_VERSION"',
        execute: { user: "root2" },
        fault: "f",
        open: false,
        changeUser: () => Effect.succeed({ program: "su", waited: Duration.zero, ran: Duration.zero })
      })
      // A su that knows nobody and runs dash where there is one.
      const su = 'su() { shift 3; sh "$@"; }; exec() { "$@"; }; _vt_h=/;'
      const text = request.text(1).replace(/^_vt_h=.*$/m, "")
      const got = spawnSync("bash", ["-c", `${su}${text}`], { encoding: "utf8" })
      assert.strictEqual(got.stderr, "")
      assert.match(got.stdout, /^it's \d+\..*\n$/)
    })
  )
})
