package matrix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// nginxBinary is where Debian puts it; ordinary users do not have that folder in their PATH.
const nginxBinary = "/usr/sbin/nginx"

// nginx returns the command that runs it as a peer, after having installed Debian's package where that is needed and may be
// done.
func (b *bench) nginx(ctx context.Context) ([]string, error) {
	binary, err := exec.LookPath("nginx")
	if err != nil {
		binary = nginxBinary
		if _, err := os.Stat(binary); err != nil {
			if err := b.installNginx(ctx); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range []string{"body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		if err := os.MkdirAll(b.path("nginx/"+name), 0o700); err != nil {
			return nil, fmt.Errorf("folders of nginx: %w", err)
		}
	}
	conf := strings.ReplaceAll(nginxConfig, "DIR", b.path("nginx"))
	if err := os.WriteFile(b.path("nginx.conf"), []byte(conf), 0o600); err != nil {
		return nil, fmt.Errorf("write nginx's configuration: %w", err)
	}
	return []string{binary, "-p", b.path("nginx"), "-e", b.path("nginx/error.log"), "-c", b.path("nginx.conf")}, nil
}

func (b *bench) installNginx(ctx context.Context) error {
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return errors.New("it is not installed, and only root on Debian can do that from here")
	}
	fmt.Fprintln(b.Out, "installing nginx")
	for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "nginx"}} {
		cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-o", "DPkg::Lock::Timeout=120"}, args...)...)
		// In runlevel 1 the package does not start its server.
		cmd.Env = append(os.Environ(), "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		if out, err := cmd.CombinedOutput(); err != nil {
			tail := out[max(0, len(out)-2000):]
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(string(tail)))
		}
	}
	return nil
}

// nginxConfig is nginx at its best for this load: one worker, no log, connections to the server that are kept.
const nginxConfig = `daemon off;
master_process off;
worker_processes 1;
pid DIR/nginx.pid;
error_log DIR/error.log warn;
worker_rlimit_nofile 20000;
events { worker_connections 8192; use epoll; multi_accept on; }
http {
  access_log off;
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  tcp_nodelay on;
  client_body_buffer_size 16k;
  upstream echo { server ` + serverAddr + `; keepalive 2048; keepalive_requests 1000000000; keepalive_timeout 3600s; }
  server {
    listen ` + nginxAddr + ` backlog=4096;
    location / { proxy_pass http://echo; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }
  }
}
`
