package axle.interop;

import com.alipay.hessian.generic.model.GenericObject;
import com.alipay.sofa.rpc.api.GenericService;
import com.alipay.sofa.rpc.api.future.SofaResponseFuture;
import com.alipay.sofa.rpc.config.ApplicationConfig;
import com.alipay.sofa.rpc.config.ConsumerConfig;
import com.alipay.sofa.rpc.context.RpcInvokeContext;
import com.alipay.sofa.rpc.core.exception.SofaRpcException;
import com.alipay.sofa.rpc.core.exception.SofaTimeOutException;
import com.alipay.sofa.rpc.core.invoke.SofaResponseCallback;
import com.alipay.sofa.rpc.core.request.RequestBase;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** A stock SOFARPC client. Arguments: port, and what the URL of the server has behind it. */
public class LedgerClient {
    /** The stock client refuses to send while 64 KiB wait, so only answers are really large. */
    private static final String LARGE = "large ".repeat(5_000);

    private final String url;
    private final AtomicInteger next = new AtomicInteger();
    private final AtomicInteger notes = new AtomicInteger();
    private final Report report = new Report();

    public static void main(String[] args) throws Exception {
        new LedgerClient("bolt://127.0.0.1:" + args[0] + (args.length > 1 ? args[1] : "")).run();
        System.exit(0);
    }

    private LedgerClient(String url) {
        this.url = url;
    }

    private <T> ConsumerConfig<T> consumer(Class<T> type, String service, String invokeType) {
        return new ConsumerConfig<T>().setApplication(new ApplicationConfig().setAppName("cashier")).setInterfaceId(service).setProtocol("bolt").setDirectUrl(url).setRegister(false)
                .setInvokeType(invokeType).setTimeout(10_000).setRetries(0).setRepeatedReferLimit(-1);
    }

    private Ledger ledger(String invokeType) {
        return consumer(Ledger.class, Ledger.class.getName(), invokeType).refer();
    }

    private GenericService generic(String service) {
        return consumer(GenericService.class, service, "sync").setGeneric(true).refer();
    }

    private void run() throws Exception {
        Ledger sync = ledger("sync");
        Ledger oneway = ledger("oneway");
        Ledger future = ledger("future");
        Ledger callback = ledger("callback");
        Ledger hasty = consumer(Ledger.class, Ledger.class.getName(), "sync").setTimeout(100).refer();
        GenericService generic = generic(Ledger.class.getName());
        GenericService unknown = generic("com.axlemesh.interop.Unknown");
        GenericService unrouted = generic("com.axlemesh.interop.Unrouted");
        report.untilStopped(
                report.keep("sync", () -> echoed(sync)),
                report.keep("post", () -> posted(sync)),
                report.keep("large", () -> sync.repeat(LARGE, 20).equals(LARGE.repeat(20))),
                report.keep("slow", () -> sync.slow("later", 150).equals("later")),
                report.keep("oneway", () -> noted(oneway)),
                report.keep("future", () -> inFuture(future)),
                report.keep("callback", () -> calledBack(callback)),
                report.keep("timeout", () -> timedOut(hasty)),
                report.keep("error", () -> failed(sync)),
                report.keep("generic", () -> generically(generic)),
                report.keep("unknown", () -> refused(unknown)),
                report.keep("unrouted", () -> refused(unrouted)));
        report.count("notes", () -> Report.stays(notes.get(), sync::noted));
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

    private boolean noted(Ledger oneway) {
        oneway.note(notes.incrementAndGet());
        return true;
    }

    private boolean inFuture(Ledger future) throws Exception {
        String text = "text " + next.incrementAndGet();
        future.echo(text);
        return text.equals(SofaResponseFuture.getResponse(10_000, true));
    }

    private boolean calledBack(Ledger callback) throws Exception {
        CompletableFuture<Object> answer = new CompletableFuture<>();
        RpcInvokeContext.getContext().setResponseCallback(new SofaResponseCallback<Object>() {
            @Override
            public void onAppResponse(Object response, String method, RequestBase request) {
                answer.complete(response);
            }

            @Override
            public void onAppException(Throwable e, String method, RequestBase request) {
                answer.completeExceptionally(e);
            }

            @Override
            public void onSofaException(SofaRpcException e, String method, RequestBase request) {
                answer.completeExceptionally(e);
            }
        });
        String text = "text " + next.incrementAndGet();
        callback.echo(text);
        return text.equals(answer.get(10, TimeUnit.SECONDS));
    }

    private boolean timedOut(Ledger hasty) {
        try {
            hasty.slow("too late", 2000);
            return false;
        } catch (SofaTimeOutException e) {
            return true;
        }
    }

    /**
     * Servers of Java throw their exception here. What sofa-rpc-node sends for one this client cannot read, also when it
     * calls it directly.
     */
    private boolean failed(Ledger ledger) {
        String text = "wrong " + next.incrementAndGet();
        try {
            ledger.fail(text);
            return false;
        } catch (LedgerException e) {
            return text.equals(e.getMessage());
        } catch (SofaRpcException e) {
            if (!e.toString().contains("RpcServerException cannot be cast")) {
                throw e;
            }
            return true;
        }
    }

    private boolean generically(GenericService ledger) {
        String text = "text " + next.incrementAndGet();
        GenericObject entry = new GenericObject("axle.interop.Entry");
        entry.putField("account", text);
        entry.putField("amounts", List.of(1, 2, 3));
        GenericObject got = (GenericObject) ledger.$genericInvoke("post", new String[] {"axle.interop.Entry"}, new Object[] {entry});
        Object echo = ledger.$invoke("echo", new String[] {"java.lang.String"}, new Object[] {text});
        return text.equals(got.getField("account")) && ((Number) got.getField("total")).longValue() == 6 && text.equals(echo);
    }

    /** A service that nobody serves fails at once, and with a reason. */
    private boolean refused(GenericService nobody) {
        long start = System.nanoTime();
        try {
            nobody.$invoke("echo", new String[] {"java.lang.String"}, new Object[] {"x"});
            return false;
        } catch (SofaRpcException e) {
            return !(e instanceof SofaTimeOutException) && System.nanoTime() - start < 5_000_000_000L;
        }
    }
}
