module acrd

go 1.26.8
