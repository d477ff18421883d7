# Other computers can reach a container, so the studio in it needs a token, and a name under which they ask for it:
#   docker build -t cognate-studio .
#   docker run -p 8501:8501 -v cognate:/data -e COGNATE_TOKEN=... -e COGNATE_HOST_NAME=... cognate-studio
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE app.py ./
COPY .streamlit .streamlit
COPY pages pages
COPY cognate_core cognate_core
# pip prefers 2.13.0+cpu to 2.13.0, which would bring gigabytes for graphics cards.
RUN python -m venv /studio && \
    /studio/bin/pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu .

FROM python:3.13-slim
COPY --from=build /studio /studio
ENV PATH=/studio/bin:$PATH COGNATE_HOME=/data HF_HOME=/data/huggingface
RUN useradd --uid 1000 --create-home cognate && install --directory --owner=cognate /data
USER 1000
WORKDIR /home/cognate
VOLUME /data
EXPOSE 8501
HEALTHCHECK --start-period=60s CMD ["cognate", "--server", "http://127.0.0.1:8501", "health"]
CMD ["cognate", "run", "--no-browser", "--address", "0.0.0.0"]
