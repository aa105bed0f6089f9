package axle.interop;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.RpcException;
import org.apache.dubbo.rpc.service.GenericService;

/** A stock Dubbo client of what its protocol has besides calls. Arguments: port, serialisation. */
public class CoinsClient {
    /** Of the body of a message in bytes, unless a server says otherwise. */
    private static final int PAYLOAD = 8 << 20;

    private final AtomicInteger next = new AtomicInteger();
    private final AtomicInteger notes = new AtomicInteger();
    private final Report report = new Report();
    private final References references;

    public static void main(String[] args) throws Exception {
        new CoinsClient(new References("dubbo://127.0.0.1:" + args[0], args[1])).run();
        System.exit(0);
    }

    private CoinsClient(References references) {
        this.references = references;
    }

    private void run() throws Exception {
        Coins coins = references.of(Coins.class, 10_000);
        Ledger ledger = references.of(Ledger.class, 10_000);
        Ledger sent = references.oneway(Ledger.class, "note");
        GenericService generic = references.generic(Coins.class.getName());
        String most = "m".repeat(PAYLOAD - 4096);
        String more = "m".repeat(PAYLOAD + 1);
        report.count("most", () -> coins.length(most) == most.length());
        report.count("most-back", () -> ledger.repeat("m", most.length()).equals(most));
        report.count("more", () -> refused("larg", () -> coins.length(more)));
        report.count("more-back", () -> refused("larg", () -> ledger.repeat("m", more.length())));
        report.untilStopped(
                report.keep("attachments", () -> carried(coins)),
                report.keep("later", () -> later(coins)),
                report.keep("unchecked", () -> thrown(coins)),
                report.keep("rpc-exception", () -> refused("as it was told", () -> coins.refuse("as it was told"))),
                report.keep("generic-unchecked", () -> refused("wrong", () -> generic.$invoke("unchecked", new String[] {"java.lang.String"}, new Object[] {"wrong"}))),
                report.keep("generic-later", () -> genericLater(generic)),
                report.keep("sent", () -> sent(sent)));
        report.count("notes", () -> Report.stays(notes.get(), ledger::noted));
        report.print("in all");
    }

    private boolean carried(Coins coins) {
        String purse = "purse " + next.incrementAndGet();
        RpcContext.getClientAttachment().setAttachment("purse", purse);
        return coins.purse().equals(purse) && ("of " + purse).equals(RpcContext.getClientResponseContext().getAttachment("change"));
    }

    private boolean later(Coins coins) throws Exception {
        String text = "text " + next.incrementAndGet();
        return coins.later(text, 20).get(10, TimeUnit.SECONDS).equals(text);
    }

    private boolean genericLater(GenericService generic) throws Exception {
        String text = "text " + next.incrementAndGet();
        return text.equals(generic.$invokeAsync("later", new String[] {"java.lang.String", "int"}, new Object[] {text, 20}).get(10, TimeUnit.SECONDS));
    }

    private boolean sent(Ledger sent) {
        sent.note(notes.incrementAndGet());
        return true;
    }

    private boolean thrown(Coins coins) {
        String text = "wrong " + next.incrementAndGet();
        try {
            coins.unchecked(text);
            return false;
        } catch (IllegalStateException e) {
            return text.equals(e.getMessage());
        }
    }

    /** A call that fails at once, with a reason that has this text. */
    private boolean refused(String why, Runnable call) {
        try {
            call.run();
            return false;
        } catch (RuntimeException e) {
            if (e instanceof RpcException && ((RpcException) e).isTimeout() || !String.valueOf(e.getMessage()).contains(why)) {
                throw e;
            }
            return true;
        }
    }
}
