module portunus.test/peers/gonet

go 1.24
