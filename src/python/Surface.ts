/**
 * Every name that a script for the NixOS test driver can use, and what it finds there under vmtest.
 *
 * The shim has the names, and explains those that are missing with the words of this table. Tests compare it with the shim's names and with the column
 * for Python of docs/nixos-parity.md.
 *
 * **Example** (Why a name is missing)
 *
 * ```ts
 * Surface.hints.machine?.monitor // "use send_monitor_command"
 * ```
 *
 * @since 0.1.0
 */

/** A name: `as there`, works but differs in what `differs` says, or is missing, and `instead` says why and what to use. */
export type Entry = "as there" | { readonly differs: string } | { readonly instead: string }

type Names = Readonly<Record<string, Entry>>

const same = (names: string): Names => Object.fromEntries(names.split(/\s+/).map((name) => [name, "as there" as const]))

const differs = (differs: string): Entry => ({ differs })
const instead = (instead: string): Entry => ({ instead })

const ofFirmware = instead(
  "scripts have no access to EFI variables; a start script that boots UEFI firmware keeps them in a file in state_dir"
)
const ofSockets = instead("it is a socket of the driver's own; use send_monitor_command, qmp_client or shell.send")
const ofBackdoor =
  "where `nixos-test-driver` has a configuration with `enable_ssh_backdoor`; vmtest needs none: use execute, or forward_port for the guest's port 22"
const ofConsoles = "with `nixos-test-driver`; `vmtest run --verbose` always shows consoles"
const seconds = "event-driven; a look that is repeated comes sooner than once a second"

const machine: Names = {
  ...same(`block booted callbacks cleanup_statedir connect copy_from_host copy_from_host_via_shell copy_from_machine copy_from_vm crash
    dump_tty_contents execute fail full_console_log get_console_log get_screen_text_variants get_tty_text get_unit_info get_unit_property
    get_window_names is_up log log_serial logger name nested out_dir pid release require_unit_state run_callbacks screenshot send_console
    shutdown sleep start start_job state_dir stop_job succeed switch_root systemctl tmp_dir unblock wait_for_qmp_event wait_for_shutdown`),
  connected: differs("assigned False: the next command waits until the guest has gone down and is back"),
  console_interact: differs("Ctrl-] leaves"),
  forward_port: differs("only on the host's loopback"),
  get_screen_text: differs("a text screen is read exactly"),
  keep_machine_state: differs("always False: `--keep-state` keeps the folders of the run"),
  process: differs(
    "an object with `pid`, `poll`, `wait`, `terminate`, `kill`, `returncode` and `stdin`; `terminate` kills, too"
  ),
  qmp_client: differs("an object with `send`, `events` and `wait_for_event`"),
  reboot: differs("the guest is asked to reboot by its own command, where a reboot is allowed"),
  send_chars: differs("paced by the guest, so that no key is lost"),
  send_key: differs("paced by the guest, so that no key is lost"),
  send_monitor_command: differs("without the monitor's prompt"),
  shared_dir: differs("a folder of the host; only guests of NixOS have it as /tmp/shared"),
  shell: differs("an object with `send`, whose lines run beside other commands"),
  shell_interact: differs("Ctrl-] leaves; an address is refused"),
  ssh_backdoor_command: differs("gives the command; only guests with the backdoor answer it"),
  vsock_guest: differs(ofBackdoor),
  vsock_host: differs(ofBackdoor),
  start_command: differs("`_cmd` is there for machines with a start script, and refused for those with a declaration"),
  wait_for_closed_port: differs(seconds),
  wait_for_console_text: differs("also matches a line that has not ended, and patterns over several lines"),
  wait_for_file: differs(seconds),
  wait_for_monitor_prompt: differs("returns at once"),
  wait_for_open_port: differs(seconds),
  wait_for_open_unix_socket: differs(seconds),
  wait_for_text: differs(seconds),
  wait_for_unit: differs("systemd reports the state, nothing is polled"),
  wait_for_window: differs(seconds),
  wait_for_x: differs("any X server that answers; no unit of NixOS is looked for"),
  wait_until_fails: differs(seconds),
  wait_until_succeeds: differs(seconds),
  wait_until_tty_matches: differs(seconds),
  create_efi_vars: ofFirmware,
  dump_efi_vars: ofFirmware,
  efi_vars: ofFirmware,
  efi_vars_path: ofFirmware,
  read_efi_vars: ofFirmware,
  write_efi_vars: ofFirmware,
  last_lines: instead("use full_console_log, or wait_for_console_text"),
  monitor: ofSockets,
  monitor_path: ofSockets,
  qmp_path: ofSockets,
  shell_path: ofSockets,
  serial_thread: instead("vmtest reads the console itself; use full_console_log"),
  get_systemd_process: instead("vmtest has no containers"),
  machine_sock: instead("vmtest has no containers")
}

const driver: Names = {
  ...same(`check_polling_conditions join_all logger machines machines_qemu out_dir polling_condition polling_conditions run_tests start_all subtest
    test_script test_symbols tests vlans debug global_timeout`),
  config: differs("an object with `vms`, `containers`, `vlans`, `global_timeout` and `test_script`"),
  create_machine: differs("the machine is on all VLANs of the test; `--keep-state` keeps its folder"),
  dump_machine_ssh: differs("prints the commands; only guests with the backdoor answer them"),
  machines_nspawn: differs("always empty"),
  serial_stdout_off: differs(ofConsoles),
  serial_stdout_on: differs(ofConsoles),
  vhost_vsock: differs(ofBackdoor),
  terminate_test: differs("ends the test as failed"),
  race_timer: instead("a test has a timeout of its own; use `vmtest run --timeout`")
}

const script: Names = {
  ...Object.fromEntries(
    ["create_machine", "debug", "dump_machine_ssh", "join_all", "machines", "machines_nspawn", "machines_qemu"]
      .concat(["polling_condition", "run_tests", "serial_stdout_off", "serial_stdout_on", "start_all", "subtest"])
      .concat(["test_script", "vlans"])
      .map((name) => [name, driver[name] ?? "as there"] as const)
  ),
  ...same("BaseMachine Machine QemuMachine driver log machine os retry t vlan1"),
  NspawnMachine: differs("for `isinstance` only: vmtest has no containers")
}

/** The names of each object, and of the script itself. */
export const names = {
  script,
  machine,
  driver,
  log: {
    ...same("debug error info log log_serial log_test_error nested set_log_level subtest warning"),
    print_serial_logs: differs(ofConsoles),
    add_logger: instead("vmtest has reports of its own: see `vmtest run --help`"),
    logger_list: instead("vmtest has reports of its own: see `vmtest run --help`")
  },
  vlan: {
    ...same("nr socket_dir"),
    pid: instead("a switch belongs to vmtest; machine.block() unplugs a cable"),
    stop: instead("a switch belongs to vmtest; machine.block() unplugs a cable"),
    process: instead("a switch belongs to vmtest; machine.block() unplugs a cable")
  },
  debug: { breakpoint: differs("with `nixos-test-driver --debug-hook-attach`, else nothing, as there") },
  qmp_client: {
    ...same("close events send wait_for_event"),
    sock: ofSockets
  },
  process: {
    ...same("kill pid poll returncode stdin terminate wait"),
    stdout: instead("use get_console_log or wait_for_console_text"),
    stderr: instead("the hypervisor's log is in the folder of `--output` when a test fails")
  },
  shell: {
    ...same("close send sendall"),
    recv: instead("use execute, which gives the output"),
    fileno: instead("the shell is not a socket; use execute")
  },
  start_command: {
    _cmd: differs("for machines with a start script"),
    cmd: instead("vmtest starts the machine itself; its start script is _cmd"),
    run: instead("use machine.start()")
  }
} satisfies Readonly<Record<string, Names>>

const missing = (all: Names): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(all).flatMap(([name, entry]) =>
      typeof entry === "object" && "instead" in entry ? [[name, entry.instead]] : []
    )
  )

/** What `nixos-test-driver --interactive` opens for a script in Python. */
export const prompt = "a Python prompt with the names of the script"

/** What to use instead of names that are missing, by holder and name. */
export const hints: Readonly<Record<string, Readonly<Record<string, string>>>> = Object.fromEntries(
  Object.entries(names).map(([holder, all]) => [holder, missing(all)])
)

/** What a script finds under some names, as docs/nixos-parity.md tells it; those after the name of an object are its own. */
export const described = (wanted: ReadonlyArray<string>): string => {
  const [first = ""] = wanted
  const named: Readonly<Record<string, Names>> = { ...names, vlans: names.vlan }
  const found = [...new Set(wanted)].flatMap((name): ReadonlyArray<readonly [string, Entry]> => {
    const entry = [named[first] ?? {}, names.machine, names.script, names.driver, names.debug, names.log]
      .map((all: Names) => all[name])
      .find((one) => one !== undefined)
    return entry === undefined ? [] : [[name, entry]]
  })
  const texts = new Map<string, Array<string>>()
  for (const [name, entry] of found) {
    const text = typeof entry === "string" ? entry : "differs" in entry ? entry.differs : `none: ${entry.instead}`
    texts.set(text, [...(texts.get(text) ?? []), `\`${name}\``])
  }
  if (texts.size === 0) return "none"
  if (texts.size === 1) return [...texts.keys()].join()
  return [...texts].map(([text, those]) => `${those.join(", ")}: ${text}`).join("; ")
}
