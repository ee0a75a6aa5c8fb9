module lvs-operator.io/lab/load

go 1.24
