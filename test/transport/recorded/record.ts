/**
 * Records the sessions that the fault tests replay, from real guests: `node test/transport/recorded/record.ts`. To be run again
 * when the agent in the guest, or what the host asks of it, changes.
 */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import { boot } from "../../../integration-tests/transport/guest.ts"
import * as Image from "../../../src/images/Image.ts"
import { ImageStore } from "../../../src/images/ImageStore.ts"
import * as Connection from "../../../src/transport/Connection.ts"
import * as Shell from "../../../src/transport/Shell.ts"
import * as VirtioPort from "../../../src/transport/VirtioPort.ts"
import { recorder } from "../recording.ts"
import { qmpSession, shellSession } from "../sessions.ts"

const write = (name: string, content: unknown) =>
  writeFileSync(join(import.meta.dirname, `${name}.json`), `${JSON.stringify(content, null, 1)}\n`)

const record = Effect.fnUntraced(function* (name: string, peer: string, image: Image.Image, qmp: boolean) {
  const guest = yield* boot({ image: yield* (yield* ImageStore).resolve(image), ports: 4 })
  const transport = VirtioPort.make({ machine: "vm", channel: guest.channel })
  // The guest boots first: how often it was asked meanwhile is no part of the session.
  yield* Effect.scoped(Shell.fromTransport(transport))
  const shell = recorder()
  const outcomes = yield* shellSession(shell.transport(transport))
  write(name, { peer, said: shell.said(), outcomes: outcomes.map(({ outcome }) => outcome) })
  if (!qmp) return
  const control = recorder()
  const connect = Effect.map(Effect.orDie(Connection.connect({ machine: "vm", socket: guest.qmp })), (connection) =>
    control.tap("qmp", connection)
  )
  const answered = yield* qmpSession(connect)
  write("qmp", { peer: "QEMU", said: control.said(), outcomes: answered.map(({ outcome }) => outcome) })
}, Effect.scoped)

await Effect.runPromise(
  Effect.gen(function* () {
    yield* record("shell-busybox", "busybox ash", Image.tiny(), true)
    yield* record("shell-bash", "bash on Debian", Image.debian(), false)
  }).pipe(Effect.provide(ImageStore.layer))
)
