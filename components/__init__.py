"""What to launch: one TorchX component per stage, and one for all of them.

    torchx run components/pretrain.py --recipe nano --root runs/nano -- --schedule.steps 20

Each is a function that returns an `AppDef`: which processes, with which arguments. They read the stages' configs, so
that a wrong recipe or key ends the launch and not the job; they import no torch and do no work.
"""
