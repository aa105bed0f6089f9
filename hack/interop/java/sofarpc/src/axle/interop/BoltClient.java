package axle.interop;

import com.alipay.remoting.ConnectionEventType;
import com.alipay.remoting.rpc.RpcClient;
import com.alipay.remoting.rpc.exception.InvokeServerException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;

/** Stock SOFABolt clients: one for each form of the protocol's frames. Argument: port. */
public class BoltClient {
    private static final String LARGE = "large ".repeat(5_000);

    private final AtomicInteger next = new AtomicInteger();
    private final AtomicInteger notes = new AtomicInteger();
    private final Report report = new Report();
    private final String address;

    public static void main(String[] args) throws Exception {
        new BoltClient("127.0.0.1:" + args[0]).run();
        System.exit(0);
    }

    private BoltClient(String address) {
        this.address = address;
    }

    private static RpcClient client() {
        RpcClient client = new RpcClient();
        client.startup();
        return client;
    }

    private void run() throws Exception {
        RpcClient idle = client();
        AtomicInteger closed = new AtomicInteger();
        idle.addConnectionEventProcessor(ConnectionEventType.CLOSE, (address, connection) -> closed.incrementAndGet());
        report.count("idle", () -> echoed(idle, address));
        List<Thread> threads = new ArrayList<>();
        threads.addAll(calls("v1", address + "?_PROTOCOL=1"));
        threads.addAll(calls("v2", address + "?_PROTOCOL=2&_VERSION=1"));
        threads.addAll(calls("crc", address + "?_PROTOCOL=2&_VERSION=2"));
        report.untilStopped(threads.toArray(new Thread[0]));
        // Heartbeats keep it: without answers it is closed after three seconds.
        Thread.sleep(5_000);
        report.count("idle", () -> echoed(idle, address) && closed.get() == 0);
        report.count("notes", () -> Report.stays(notes.get(), () -> Integer.parseInt((String) idle.invokeSync(address, "notes", 10_000))));
        report.print("in all");
    }

    private List<Thread> calls(String form, String url) {
        RpcClient client = client();
        return List.of(
                report.keep(form + "-sync", () -> echoed(client, url)),
                report.keep(form + "-large", () -> client.invokeSync(url, LARGE, 10_000).equals(LARGE)),
                report.keep(form + "-future", () -> {
                    String text = "text " + next.incrementAndGet();
                    return client.invokeWithFuture(url, text, 10_000).get(10_000).equals(text);
                }),
                report.keep(form + "-oneway", () -> {
                    client.oneway(url, "note " + notes.incrementAndGet());
                    return true;
                }),
                report.keep(form + "-throws", () -> refused(client, url, "fail", "as it was told")),
                report.keep(form + "-unknown", () -> refused(client, url, 4711, "No user processor found")));
    }

    private boolean echoed(RpcClient client, String url) throws Exception {
        String text = "text " + next.incrementAndGet();
        return client.invokeSync(url, text, 10_000).equals(text);
    }

    /** The server answers with an error of its own. */
    private boolean refused(RpcClient client, String url, Object argument, String why) throws Exception {
        try {
            client.invokeSync(url, argument, 10_000);
            return false;
        } catch (InvokeServerException e) {
            return e.getCause().getMessage().contains(why);
        }
    }
}
