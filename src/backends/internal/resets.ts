/** What QEMU's protocol says of a guest that resets itself: it reboots, or its kernel panicked. */
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { QmpService } from "../../transport/qmp/Qmp.ts"

const Reset = Schema.Struct({ event: Schema.Literal("RESET"), data: Schema.Struct({ guest: Schema.Literal(true) }) })
const isReset = Schema.is(Reset)

/** One element for each reset by the guest. */
export const resetsOf = (qmp: QmpService): Stream.Stream<void> =>
  Stream.map(Stream.filter(qmp.events, isReset), () => undefined)
