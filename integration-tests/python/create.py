# Machines that the script makes: from the start script of another one, and from a command line of QEMU. Disks that the host makes.
import subprocess

machine.wait_for_unit("multi-user.target")
command = machine.start_command._cmd
assert command.rstrip("'").endswith("/run-machine-vm"), command

with subtest("from a start script, with a disk that the host has made"):
    disk = machine.state_dir / "data.raw"
    subprocess.run(["truncate", "--size=16M", disk], check=True)
    second = create_machine(f"{command} -drive file={disk},format=raw,if=none,id=data -device virtio-blk-pci,drive=data,serial=data", name="second")
    assert second not in driver.machines and not second.booted
    second.start()
    second.wait_for_unit("multi-user.target")
    second.succeed("echo written by the guest >/dev/disk/by-id/virtio-data && sync")
    second.shutdown()
    assert disk.read_bytes().startswith(b"written by the guest\n")

with subtest("from a command line of QEMU, in a folder of its own"):
    with t.assertRaisesRegex(Exception, "no such option|invalid option"):
        create_machine("qemu-system-x86_64 -no-such-option", name="wrong").succeed("true")
    third = create_machine('env QEMU_KERNEL_PARAMS="own.word=$USE_TMPDIR" ' + command, name="third")
    assert "own.word=1" in third.succeed("cat /proc/cmdline")
    assert (third.state_dir / "machine.qcow2").is_file()
    third.crash()
    third.start()
    third.succeed("true")
    assert machine.succeed("echo still there") == "still there\n"
