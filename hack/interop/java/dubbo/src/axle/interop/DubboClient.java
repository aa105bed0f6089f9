package axle.interop;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.RpcException;
import org.apache.dubbo.rpc.service.GenericService;

/** A stock Dubbo client. Arguments: port, serialisation, protocol. */
public class DubboClient {
    private static final String LARGE = "large ".repeat(5_000);

    private final References references;
    private final AtomicInteger next = new AtomicInteger();
    private final AtomicInteger notes = new AtomicInteger();
    private final Report report = new Report();

    public static void main(String[] args) throws Exception {
        DubboClient client = new DubboClient(new References(args[2] + "://127.0.0.1:" + args[0], args[1]));
        client.run(args[2].equals("tri") ? client.streams() : new Thread[0]);
        System.exit(0);
    }

    private DubboClient(References references) {
        this.references = references;
    }

    /** Streams are what Triple has besides. */
    private Thread[] streams() {
        Talk talk = references.of(Talk.class, 120_000);
        Conversation conversation = new Conversation(talk);
        return new Thread[] {
            report.keep("stream", () -> conversation.said("text " + next.incrementAndGet())),
            report.keep("streams", () -> new Conversation(talk).ends()),
            report.keep("count", () -> Conversation.counted(talk, 200)),
        };
    }

    private void run(Thread... others) throws Exception {
        Ledger ledger = references.of(Ledger.class, 10_000);
        Ledger hasty = references.of(Ledger.class, 100);
        GenericService generic = references.generic(Ledger.class.getName());
        GenericService unknown = references.generic("com.axlemesh.interop.Unknown");
        GenericService unrouted = references.generic("com.axlemesh.interop.Unrouted");
        Thread[] calls = {
                report.keep("sync", () -> echoed(ledger)),
                report.keep("post", () -> posted(ledger)),
                report.keep("large", () -> ledger.repeat(LARGE, 20).equals(LARGE.repeat(20))),
                report.keep("slow", () -> ledger.slow("later", 150).equals("later")),
                report.keep("oneway", () -> noted(ledger)),
                report.keep("future", () -> inFuture(ledger)),
                report.keep("timeout", () -> timedOut(hasty)),
                report.keep("error", () -> failed(ledger)),
                report.keep("generic", () -> generically(generic)),
                report.keep("unknown", () -> refused(unknown)),
                report.keep("unrouted", () -> refused(unrouted)),
        };
        Thread[] all = Arrays.copyOf(calls, calls.length + others.length);
        System.arraycopy(others, 0, all, calls.length, others.length);
        report.untilStopped(all);
        report.count("notes", () -> Report.stays(notes.get(), ledger::noted));
        report.print("in all");
    }

    private boolean echoed(Ledger ledger) {
        int n = next.incrementAndGet();
        return ledger.echo("text " + n).equals("text " + n) && ledger.add(n, 4711) == n + 4711;
    }

    private boolean posted(Ledger ledger) {
        Entry entry = new Entry();
        entry.setAccount("account " + next.incrementAndGet());
        entry.setAmounts(List.of(1, 20, 300));
        Entry got = ledger.post(entry);
        return got.getAccount().equals(entry.getAccount()) && got.getTotal() == 321;
    }

    private boolean noted(Ledger ledger) {
        RpcContext.getServiceContext().asyncCall(() -> ledger.note(notes.incrementAndGet()));
        return true;
    }

    private boolean inFuture(Ledger ledger) throws Exception {
        String text = "text " + next.incrementAndGet();
        return RpcContext.getServiceContext().asyncCall(() -> ledger.echo(text)).get(10, TimeUnit.SECONDS).equals(text);
    }

    private boolean timedOut(Ledger hasty) {
        try {
            hasty.slow("too late", 2000);
            return false;
        } catch (RpcException e) {
            if (!e.isTimeout() && !String.valueOf(e.getMessage()).contains("DEADLINE_EXCEEDED")) { // Triple has both
                throw e;
            }
            return true;
        }
    }

    private boolean failed(Ledger ledger) {
        String text = "wrong " + next.incrementAndGet();
        try {
            ledger.fail(text);
            return false;
        } catch (LedgerException e) {
            return text.equals(e.getMessage());
        }
    }

    private boolean generically(GenericService ledger) {
        String text = "text " + next.incrementAndGet();
        Map<String, Object> entry = Map.of("class", "axle.interop.Entry", "account", text, "amounts", List.of(1, 2, 3));
        Map<?, ?> got = (Map<?, ?>) ledger.$invoke("post", new String[] {"axle.interop.Entry"}, new Object[] {entry});
        return text.equals(got.get("account")) && ((Number) got.get("total")).longValue() == 6;
    }

    /** A service that nobody serves fails at once, and with a reason. */
    private boolean refused(GenericService nobody) {
        long start = System.nanoTime();
        try {
            nobody.$invoke("echo", new String[] {"java.lang.String"}, new Object[] {"x"});
            return false;
        } catch (RpcException e) {
            if (e.isTimeout()) {
                throw e;
            }
            return System.nanoTime() - start < 5_000_000_000L;
        }
    }
}
