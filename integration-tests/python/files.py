# Files of the host, made by Python and by programs of the host, in the guest and back.
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    tree = folder / "tree"
    (tree / "deep" / "deeper").mkdir(parents=True)
    (tree / "deep" / "deeper" / "data").write_bytes(os.urandom(100_000))
    script = tree / "run me"
    script.write_text("#!/bin/sh\necho it ran\n")
    script.chmod(0o755)
    subprocess.run(["tar", "-czf", folder / "tree.tar.gz", "-C", name, "tree"], check=True)
    digest = hashlib.sha256((tree / "deep/deeper/data").read_bytes()).hexdigest()

    with subtest("trees and files go in"):
        machine.copy_from_host(str(tree), "/srv/copy")
        assert machine.succeed("'/srv/copy/run me'") == "it ran\n"
        assert digest in machine.succeed("sha256sum /srv/copy/deep/deeper/data")
        machine.copy_from_host(folder / "tree.tar.gz", "/srv/")
        machine.succeed("tar -xzf /srv/tree.tar.gz -C /srv && test -x '/srv/tree/run me'")

    with subtest("over the shell, without modes"):
        machine.copy_from_host_via_shell(str(script), "/srv/some/where")
        assert machine.succeed("cat /srv/some/where; stat -c %a /srv/some/where") == "#!/bin/sh\necho it ran\n644\n"

with subtest("and come out, into the output folder"):
    machine.copy_from_machine("/srv/copy", "out")
    copied = machine.out_dir / "out" / "copy" / "deep" / "deeper" / "data"
    assert hashlib.sha256(copied.read_bytes()).hexdigest() == digest
    machine.copy_from_vm("/etc/hostname")
    assert (driver.out_dir / "hostname").read_text() == "machine\n"
    shutil.rmtree(machine.out_dir / "out")

with subtest("a file is waited for"):
    machine.execute("(sleep 1; touch '/srv/a file' /srv/other) >/dev/null 2>&1 &")
    machine.wait_for_file("/srv/other")
    machine.wait_for_file("/srv/oth*", timeout=10)
    machine.wait_for_file("'/srv/a file'")
