/** Steps of trace.py that come out otherwise under vmtest than under the original driver, and why that is so. */

const home = "commands run in root's home folder, as in every guest of vmtest; the backdoor's shell is in /tmp"
const folders =
  "`vmtest run` has the folders of machines in the folder of the run; `nixos-test-driver` has them where the original has them"
const named =
  "mistakes are named: an unknown key, where the original goes on; a user that does not exist or a program that the guest lacks, where it fails with the words of a tool"

export const differences: Readonly<Record<string, string>> = {
  "machine.state_dir.name": folders,
  "machine.state_dir.parent == machine.tmp_dir": folders,
  'enter(driver.subtest("a part"))': "`driver.subtest` can be entered; in the original only the global `subtest` can",
  'create_machine(start_command="true", name="e", keep_machine_state=True).keep_machine_state':
    "`keep_machine_state` is always False: `--keep-state` keeps the folders of the run",
  'create_machine("/nix/store/x/bin/run-i-vm -s").name':
    "`create_machine` takes the name also from a start script with more arguments, so that several can be made",
  'machine.execute("echo \\"$HOME $USER $PWD $0\\"")': home,
  'machine.execute("pwd")': home,
  'machine.execute("echo $-")': "`$-` has no `c`: the command is not an argument of `bash -c`",
  'machine.systemctl("show-environment", "nobody")[0]':
    "`systemctl` with a user asks the manager that the user has; Debian's `su -l` logs the user in, which starts one (NixOS's does not)",
  'machine.wait_for_unit("none.service", timeout=1)':
    "`wait_for_unit` does not wait for a unit that does not exist while other units have jobs",
  'machine.wait_for_unit("none.service", "no-such-user")': named,
  'machine.send_monitor_command("info status").endswith("(qemu) ")':
    "`send_monitor_command` gives the answer without the monitor's prompt",
  'machine.send_key("no-such-key")': named,
  "machine.get_window_names()": named
}
