package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/golocker/locker"
)

// command returns what the arguments are parsed by.
func (p *program) command() *cli.Command {
	var wantsVersion bool
	root := &cli.Command{
		Name:  "locker",
		Usage: "run commands under a lock, and look at locks",
		Description: "The locks are where --url says: redis://user:password@host:6379/0, file:///directory\n" +
			"and others, see https://pkg.go.dev/github.com/golocker/locker/lockurl. Several, with\n" +
			"spaces between, are for the first that answers. The default is files in the state\n" +
			"directory of the user, for the processes of one machine. A password is better in\n" +
			"LOCKER_URL than in --url, which everybody on the machine may see.",
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "url", Usage: "where the locks are, as `URL`; several, with spaces between, are fallbacks",
				Sources: cli.EnvVars("LOCKER_URL"), Destination: &p.url,
			},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "tell nothing but errors, losses and warnings", Destination: &p.quiet},
			// Not that of the parser, for which the version would be looked up each time.
			&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "tell the version", Local: true, Destination: &wantsVersion},
		},
		Commands: []*cli.Command{
			p.runCommand(),
			p.statusCommand(),
			p.breakCommand(),
			p.checkCommand(),
			{Name: "version", Usage: "tell the version", Action: func(_ context.Context, cmd *cli.Command) error {
				return p.printVersion(cmd)
			}},
		},
		EnableShellCompletion:           true,
		ConfigureShellCompletionCommand: func(c *cli.Command) { c.Hidden = false },
		Suggest:                         true,
		Action: func(_ context.Context, cmd *cli.Command) error {
			if wantsVersion {
				return p.printVersion(cmd)
			}
			if cmd.Args().Present() {
				return usage("unknown command %q; see locker --help", cmd.Args().First())
			}
			return cli.ShowRootCommandHelp(cmd)
		},
		// Errors are told, and become a status, in one place: program.run.
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
		OnUsageError:   misused,
	}
	for _, c := range root.Commands {
		c.OnUsageError = misused
		c.HideHelpCommand = true // else no lock can be called help, or h
		c.CommandNotFound = func(_ context.Context, cmd *cli.Command, _ string) {
			_ = cli.ShowSubcommandHelp(cmd) // asked for by --help after a name, which is no topic
		}
	}
	return root
}

// misused is the error of arguments that cannot be parsed.
func misused(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	if exit := new(exitError); errors.As(err, &exit) {
		return err
	}
	return usage("%w; see %s --help", err, cmd.FullName())
}

// oneName returns the only argument of a command, the name of a lock.
func oneName(cmd *cli.Command) (string, error) {
	if cmd.Args().Len() != 1 {
		return "", usage("%w: want the name of one lock; see %s --help", locker.ErrInvalid, cmd.FullName())
	}
	return cmd.Args().First(), nil
}

// statusFlag returns a flag for an exit status.
func statusFlag(name, alias, text string, value int, destination *int) cli.Flag {
	return &cli.IntFlag{
		Name: name, Aliases: []string{alias}, Usage: text, Value: value, Destination: destination,
		Validator: func(n int) error {
			if n < 0 || n > 255 {
				return fmt.Errorf("an exit status is from 0 to 255")
			}
			return nil
		},
	}
}
