# What the script changes before a start: variables, the start command. The disk that the start script makes.
import os

disk = machine.state_dir / "another.qcow2"
os.environ["NIX_DISK_IMAGE"] = str(disk)
os.environ["QEMU_KERNEL_PARAMS"] = "own.word=first"

with subtest("the first start sees the variables"):
    machine.start()
    assert "own.word=first" in machine.succeed("cat /proc/cmdline")
    machine.succeed("echo kept >/dev/disk/by-id/virtio-root && sync")
    assert disk.is_file()
    machine.shutdown()

with subtest("the next one sees other variables and another command, and finds the disk"):
    os.environ["QEMU_KERNEL_PARAMS"] = "own.word=second"
    machine.start_command._cmd += " -smbios type=1,serial=vmtest-serial"
    machine.start()
    assert "own.word=second" in machine.succeed("cat /proc/cmdline")
    assert machine.succeed("cat /sys/class/dmi/id/product_serial") == "vmtest-serial\n"
    assert machine.succeed("head -n 1 /dev/disk/by-id/virtio-root") == "kept\n"
    machine.crash()

with subtest("a variable that is taken away is gone, and a machine that was switched off starts by itself"):
    del os.environ["QEMU_KERNEL_PARAMS"]
    machine.fail("grep own.word /proc/cmdline")
    assert machine.is_up()
