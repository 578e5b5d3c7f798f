package main

import "github.com/urfave/cli/v3"

func (p *program) checkCommand() *cli.Command  { return &cli.Command{Name: "check"} }
