/** Whether guests run on the hardware virtualisation of this host, for hypervisors that have nothing else. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Cache from "../../host/Cache.ts"
import * as Accelerator from "../Accelerator.ts"
import { lookAtKvm } from "../qemu/probe.ts"

/** `/dev/kvm` cannot be used on this host, and the hypervisor cannot do without it. */
export class KvmUnusable extends Schema.TaggedError<KvmUnusable>()("KvmUnusable", {
  backend: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `the ${this.backend} backend needs hardware virtualisation: ${this.reason}; use the qemu backend, which can emulate`
  }
}

/** What QEMU's probe guest, or an earlier one, has found out; nothing where there is no QEMU, or `VMTEST_ACCEL` says what to use. */
const probed = Effect.gen(function* () {
  const { accelerator } = yield* Accelerator.detect({ folder: yield* Cache.open("host") })
  return accelerator.name === "tcg" && accelerator.source !== "environment" ? accelerator.reason : undefined
}).pipe(Effect.orElseSucceed(() => undefined))

/** Why no guest can run on KVM; undefined where one can, or nothing says otherwise. */
export const kvm: Effect.Effect<string | undefined> = Effect.flatMap(lookAtKvm, (reason) =>
  reason === undefined ? probed : Effect.succeed(reason)
)
