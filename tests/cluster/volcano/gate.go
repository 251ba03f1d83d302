// The one name that Volcano v1.15.1 uses and volcano.sh/apis v1.14.0, its newest version in the Go module proxy, lacks.
// As in Volcano's docs/design/scheduling-gates-queue-admission.md.

package v1beta1

// QueueAllocationGateKey marks pods that wait for their queue's admission.
const QueueAllocationGateKey = GroupName + "/queue-allocation-gate"
