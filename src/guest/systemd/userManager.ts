/** Why the service manager of a user does not run, found out in the guest. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { section } from "../../host/Evidence.ts"
import { quote } from "../../host/Quote.ts"
import type { ShellService } from "../../transport/Shell.ts"
import type { ShellError } from "../../transport/ShellError.ts"
import type { Unavailable } from "../Guest.ts"
import type { UnitState } from "./unitStates.ts"

/** The service manager of a user could not start, so the user has no units; `reason` is why, `journal` what it said. */
export class NoUserManager extends Schema.TaggedError<NoUserManager>()("NoUserManager", {
  machine: Schema.String,
  user: Schema.String,
  reason: Schema.String,
  journal: Schema.String
}) {
  override get message() {
    return `${this.machine}: the service manager of ${this.user} is not running: ${this.reason}${section("journal", this.journal)}`
  }
}

/**
 * Shell text that prints why the manager of the user `$vm_user` does not run, for root and for that user. What starts it is logind, through the
 * PAM service `systemd-user`; systemd(1) does not start as a user's manager without what the module pam_systemd sets (XDG_RUNTIME_DIR). The module
 * is where PAM looks for it, or where that service says (NixOS).
 */
const why = `vm_unit=user@$(id -u "$vm_user").service
vm_pam=
vm_named=$(sed -n 's/^[^#]*[[:space:]]\\(\\/[^[:space:]]*pam_systemd\\.so\\).*/\\1/p' /etc/pam.d/systemd-user /usr/lib/pam.d/systemd-user 2>/dev/null) || :
for vm_file in /lib*/security/pam_systemd.so /lib*/*/security/pam_systemd.so $vm_named; do
  [ ! -e "$vm_file" ] || vm_pam=1
done
if [ -z "$vm_pam" ]; then
  echo "the guest has no pam_systemd, which user sessions need (in Debian, the package libpam-systemd)"
elif [ "$(systemctl is-failed "$vm_unit" 2>/dev/null)" = failed ]; then
  echo "$vm_unit has failed"
elif [ -e "/var/lib/systemd/linger/$vm_user" ]; then
  echo "$vm_unit is $(systemctl is-active "$vm_unit" 2>/dev/null)"
else
  echo "it starts when $vm_user logs in, or with loginctl enable-linger $vm_user"
fi`

/** Shell text, to be run as the user: where to reach the manager, or an end with the reason why it does not run. */
export const prelude = (user: string): string => `export XDG_RUNTIME_DIR="/run/user/$(id -u)"
[ -S "$XDG_RUNTIME_DIR/systemd/private" ] || {
  vm_user=${quote(user)}
  { printf '%s' "the service manager of $vm_user is not running: "; ${why}; } >&2
  exit 1
}
`

const explain = { timeout: "10 seconds" } as const

/** In the guest's words, or that it does not answer. */
export const reasonOf = (shell: Effect.Effect<ShellService, Unavailable>, user: string): Effect.Effect<string> =>
  Effect.flatMap(shell, (service) => service.execute(`vm_user=${quote(user)}\n${why}`, explain)).pipe(
    Effect.map(({ stdout }) => stdout.trim()),
    Effect.orElseSucceed(() => ""),
    Effect.map((reason) => (reason === "" ? "the guest did not say why within 10 seconds" : reason))
  )

/** A manager that runs answers long before this; then nothing else need be asked of the guest. */
const patience = "500 millis"

/** Fails once the manager of the user could not start; runs until then. `states` are those of the system's units. */
export const failure = Effect.fnUntraced(function* (
  shell: Effect.Effect<ShellService, Unavailable>,
  states: (unit: string) => Stream.Stream<UnitState, unknown>,
  user: string
): Effect.fn.Return<never, NoUserManager | ShellError | Unavailable> {
  yield* Effect.sleep(patience)
  const service = yield* shell
  const { exitCode, stdout } = yield* service.execute(`id -u -- ${quote(user)}`)
  if (exitCode !== 0) return yield* Effect.never
  const unit = `user@${stdout.trim()}.service`
  yield* states(unit).pipe(
    Stream.filter(({ activeState, pending }) => activeState === "failed" && !pending),
    Stream.runHead,
    // What the system's manager does not tell, that of the user may.
    Effect.catch(() => Effect.never)
  )
  const reason = yield* reasonOf(shell, user)
  const journal = yield* service.execute(`journalctl --no-pager -q -b -o cat -n 10 -u ${unit}`, explain).pipe(
    Effect.map(({ stdout }) => stdout),
    Effect.orElseSucceed(() => "")
  )
  return yield* new NoUserManager({ machine: service.machine, user, reason, journal })
})
