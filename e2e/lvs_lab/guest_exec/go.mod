module lvs-operator.io/lab/guest-exec

go 1.24
