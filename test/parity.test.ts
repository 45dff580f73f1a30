import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as MachineSpec from "../src/machine/MachineSpec.ts"
import { driverOf, offline } from "./driver/support.ts"

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), "utf8")

const document = read("docs/nixos-parity.md")
const rows = document
  .split("\n")
  .filter((line) => line.startsWith("| `") || line.startsWith("| the "))
  .map((line) => line.split(" | "))

/** A test's text: from its name to the next test, and before it what its file has above all tests. */
const bodyOf = (path: string, name: string): string => {
  const text = read(path)
  const rest = text.slice(text.indexOf(`"${name}"`))
  const next = rest.search(/\n *it(\.[a-z.]+)?\(/)
  const above = text.slice(0, text.search(/\n(describe|machines)\b/))
  return above + (next === -1 ? rest : rest.slice(0, next))
}

describe("docs/machines.md", () => {
  const page = read("docs/machines.md")

  it.effect("has every method of a machine and of a driver, and none that there is not", () =>
    Effect.gen(function* () {
      const { machines, service } = yield* driverOf({ a: offline() })
      /** The first column of a part of the page: what is between backquotes, up to its arguments. */
      const named = (text: string) =>
        text
          .split("\n")
          .filter((line) => line.startsWith("| `"))
          .flatMap((line) => [...line.split(" | ")[0]!.matchAll(/`(\w+)[^`]*`/g)].map(([, name]) => name!))
      const [upTo, driver] = page.slice(page.indexOf("## Life")).split("## The driver")
      const handle = upTo!.slice(upTo!.indexOf("Of the handle"), upTo!.indexOf("## systemd"))
      assert.sameMembers(named(upTo!.replace(handle, "")), Object.keys(machines.a!))
      assert.sameMembers(named(driver!), Object.keys(service))
    })
  )

  it.effect("has every field of a declaration", () =>
    Effect.gen(function* () {
      const fields = page.slice(page.indexOf("## The declaration"), page.indexOf("## What arguments mean"))
      const named = [...fields.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name!)
      const spec = yield* MachineSpec.check("a", offline())
      assert.sameMembers(["name", ...named], Object.keys(spec))
    })
  )
})

/** Public names of the Python driver, as of November 2026: of a machine, of a container alone, of the driver, and those that a test script sees. */
const python = {
  machine: `block booted callbacks cleanup_statedir connect connected console_interact copy_from_host copy_from_host_via_shell copy_from_machine
    copy_from_vm crash create_efi_vars dump_efi_vars dump_tty_contents efi_vars efi_vars_path execute fail forward_port full_console_log
    get_console_log get_screen_text get_screen_text_variants get_tty_text get_unit_info get_unit_property get_window_names is_up
    keep_machine_state last_lines log log_serial monitor monitor_path name nested out_dir pid process qmp_client qmp_path read_efi_vars reboot
    release require_unit_state run_callbacks screenshot send_chars send_console send_key send_monitor_command serial_thread shared_dir shell
    shell_interact shell_path shutdown sleep ssh_backdoor_command start start_command start_job state_dir stop_job succeed switch_root systemctl
    tmp_dir unblock vsock_guest vsock_host wait_for_closed_port wait_for_console_text wait_for_file wait_for_monitor_prompt wait_for_open_port
    wait_for_open_unix_socket wait_for_qmp_event wait_for_shutdown wait_for_text wait_for_unit wait_for_window wait_for_x wait_until_fails
    wait_until_succeeds wait_until_tty_matches write_efi_vars`,
  container: "get_systemd_process machine_sock",
  driver: `check_polling_conditions create_machine dump_machine_ssh join_all machines machines_nspawn machines_qemu polling_condition run_tests
    serial_stdout_off serial_stdout_on start_all subtest terminate_test test_script test_symbols vlans`,
  script: `BaseMachine NspawnMachine QemuMachine create_machine debug driver dump_machine_ssh join_all log machine machines machines_nspawn
    machines_qemu os polling_condition retry run_tests serial_stdout_off serial_stdout_on start_all subtest t test_script vlan1 vlans`
}

describe("docs/nixos-parity.md", () => {
  it("has every public name of the Python driver", () => {
    const named = new Set(rows.flatMap(([theirs]) => theirs!.match(/(?<=`)[A-Za-z_]\w*/g) ?? []))
    for (const [holder, names] of Object.entries(python)) {
      const missing = names.split(/\s+/).filter((name) => !named.has(name))
      assert.deepStrictEqual(missing, [], holder)
    }
  })

  it.effect("names only methods that there are", () =>
    Effect.gen(function* () {
      const { machines, service } = yield* driverOf({ a: offline() })
      const holders: Readonly<Record<string, object>> = { machine: machines.a!, driver: service }
      const named = [...document.matchAll(/`(machine|driver)\.([a-zA-Z]+)/g)]
      assert.isAbove(named.length, 60)
      for (const [, holder, method] of named) assert.property(holders[holder!], method!)
    })
  )

  it("has no row without a test or a reason", () => {
    assert.isAbove(rows.length, 60)
    for (const row of rows) {
      assert.lengthOf(row, 4, row.join(" | "))
      assert.match(row[3]!, /^`.+\.test\.ts` “.+”|^no test: /, row[0])
    }
  })

  it("names only tests that there are", () => {
    const tests = [...document.matchAll(/`([^`]+\.test\.ts)` “([^”]+)”/g)]
    assert.isAbove(tests.length, 60)
    for (const [, path, name] of tests) {
      assert.isTrue(existsSync(fileURLToPath(new URL(`../${path}`, import.meta.url))), path)
      assert.include(read(path!), `"${name}"`, path)
    }
  })

  it.effect("names tests that use the methods they are named for", () =>
    Effect.gen(function* () {
      const { machines, service } = yield* driverOf({ a: offline() })
      const holders: Readonly<Record<string, object>> = { machine: machines.a!, driver: service }
      let checked = 0
      for (const [, here, , tests] of rows) {
        // What follows the first colon, a "none" or a command of vmtest is told, and not shown by the test.
        const named = /^`(machine|driver)\./.test(here!)
          ? [...here!.split(": ")[0]!.matchAll(/`(machine|driver)\.([a-zA-Z]+)/g)]
          : []
        const bodies = [...tests!.matchAll(/`([^`]+\.test\.ts)` “([^”]+)”/g)].map(([, path, name]) =>
          bodyOf(path!, name!)
        )
        if (bodies.length === 0) continue
        for (const [, holder, method] of named) {
          checked += 1
          const isMethod = typeof (holders[holder!] as Record<string, unknown>)[method!] === "function"
          const use = new RegExp(`\\.${method}${isMethod ? "\\(" : "\\b"}`)
          assert.isTrue(
            bodies.some((body) => use.test(body)),
            `${method} is not used by ${tests}`
          )
        }
      }
      assert.isAbove(checked, 55)
    })
  )
})
