package axle.interop;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.RpcException;

/** The coins that servers offer. */
public class Mint implements Coins {
    @Override
    public String purse() {
        String purse = RpcContext.getServerAttachment().getAttachment("purse");
        RpcContext.getServerResponseContext().setAttachment("change", "of " + purse);
        return purse;
    }

    @Override
    public CompletableFuture<String> later(String text, int ms) {
        return CompletableFuture.supplyAsync(() -> text, CompletableFuture.delayedExecutor(ms, TimeUnit.MILLISECONDS));
    }

    @Override
    public String unchecked(String text) {
        throw new IllegalStateException(text);
    }

    @Override
    public String refuse(String text) {
        throw new RpcException(RpcException.FORBIDDEN_EXCEPTION, text);
    }

    @Override
    public int length(String text) {
        return text.length();
    }
}
