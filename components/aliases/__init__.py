"""`torchx run components/pretrain.py`, literally.

Without `:function`, TorchX looks a name up among the registered components. A registered name is an entry point's name,
a dot and a function's name, and an entry point's name may hold a slash: so "components/pretrain" with a function called
`py` is found under the very path of the file. The function must stand in the module that is registered, so each of the
modules here holds one, which passes on what it gets.
"""

import functools
from collections.abc import Callable

from torchx.specs import AppDef

Component = Callable[..., AppDef]


def like(component: Component) -> Callable[[Component], Component]:
    """Gives a function the signature and the help of `component`, from which TorchX makes its flags."""
    return functools.wraps(component, assigned=("__doc__",))
