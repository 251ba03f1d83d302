"""Stage `render`: labelled renders of the small world, to evaluate on where you have no data of yours."""

from torchx.specs import AppDef, Role

from components.roles import arguments, role


def render(*, data: str = "", root: str = "", image: str = "", threads: int = 0, pool: str = "") -> AppDef:
    """Makes labelled renders of the small world.

    Args:
        data: folder that gets them, a path or a URI of file:, s3:, gs: or az:; empty means <root>/labelled
        root: where the run lives; empty means runs/nano
        image: container image; empty means the released one; not used on this machine
        threads: threads on a CPU; 0 leaves it to the library
        pool: node pool of the cluster, of helm/reverie/files/pools.yaml; empty means the scheduler's; not used on this
            machine
    """
    arguments("nano", root, "", ())
    return AppDef("render", [render_role(data or labelled(root or "runs/nano"), image, threads, pool)])


def render_role(data: str, image: str, threads: int, pool: str) -> Role:
    """The role `render`: one process, which goes on where a killed one stopped."""
    command = ("-m", "nano.renders", "--recipe", "nano", "--data", data)
    return role("render", command, image=image, threads=threads, pool=pool)


def labelled(root: str) -> str:
    """Where the renders of a run are."""
    return f"{root.rstrip('/')}/labelled"
