"""The controller of the `Reverie` resource: one run from concepts to an evaluated encoder, on Kubernetes.

    observe (informers)  ->  reconcile (pure)  ->  apply

`resource.py` says what can be asked for and what is answered, `crd.py` makes the cluster's schema of it. `reconcile.py`
decides; it reads no clock and no cluster. `render.py` makes the jobs, by the components and the scheduler of
`torchx run -s kubernetes`. Imports no torch, and reads no storage: it has no credentials.
"""
